#!/bin/sh
# Makes clock.webm, the clip that is there on first run: two minutes of a running clock (VP9) with a tick every
# second (Opus), so that one can see and hear whether two windows are in sync. Needs ffmpeg and the DejaVu fonts.
set -eu
cd "$(dirname "$0")"
fonts=/usr/share/fonts/truetype/dejavu
text="fontcolor=white:x=(w-text_w)/2"
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "gradients=s=854x480:r=20:d=120:speed=0.00001:c0=0x101828:c1=0x3b1d5e:c2=0x0b4a5a:nb_colors=3:seed=7" \
  -f lavfi -i "aevalsrc='0.12*sin(2*PI*880*t)*lt(mod(t,1),0.04)':s=48000:d=120" \
  -vf "drawbox=x=60:y=400:w=734:h=6:color=white@0.25:t=fill,
       drawtext=fontfile=$fonts/DejaVuSansMono-Bold.ttf:text='%{eif\:floor(t/60)\:d\:2}\:%{eif\:floor(mod(t,60))\:d\:2}.%{eif\:floor(mod(t*10,10))\:d\:1}':fontsize=110:$text:y=170,
       drawtext=fontfile=$fonts/DejaVuSans.ttf:text='StreamIt test clip':fontsize=26:$text:y=300:alpha=0.75,
       drawtext=fontfile=$fonts/DejaVuSans-Bold.ttf:text='●':fontsize=44:fontcolor=0xffb454:x='46+734*t/120':y=380" \
  -c:v libvpx-vp9 -b:v 0 -crf 44 -row-mt 1 -cpu-used 4 -g 60 -c:a libopus -b:a 10k clock.webm
